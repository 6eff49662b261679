"""Tests of `mc_sink.keys`."""
