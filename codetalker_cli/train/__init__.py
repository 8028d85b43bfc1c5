"""Training of both stages in one loop, with exact resume and support for several processes."""
