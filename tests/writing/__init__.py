"""Tests of `mc_sink.writing`."""
