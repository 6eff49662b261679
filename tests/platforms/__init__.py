"""Tests of `mc_sink.platforms`."""
