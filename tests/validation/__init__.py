"""Tests of `mc_sink.validation`."""
