"""Training: one loop for both stages, with exact resume and several processes."""
