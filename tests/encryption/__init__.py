"""Tests of `mc_sink.formats`."""
