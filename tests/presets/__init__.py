"""Tests of `mc_sink.presets`."""
