"""Tests of `mc_sink.records`."""
