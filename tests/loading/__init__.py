"""Tests of `mc_sink.loading`."""
