"""Tests of `mc_sink.comparison`."""
