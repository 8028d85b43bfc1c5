"""Pretrained speech encoders, which turn samples into features for each motion frame."""
