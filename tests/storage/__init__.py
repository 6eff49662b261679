"""Tests of `mc_sink.storage`."""
