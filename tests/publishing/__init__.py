"""Tests of `mc_sink.publishing`."""
