"""Tests of `mc_sink._runtime`."""
