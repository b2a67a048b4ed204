"""Tests of packing, batching and the stages that gather."""
