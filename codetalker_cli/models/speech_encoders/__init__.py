"""Pretrained speech encoders: samples → encoder features for each motion frame."""
