"""Tests of `mc_sink.sink`."""
