"""Tests of `mc_sink.connector`."""
