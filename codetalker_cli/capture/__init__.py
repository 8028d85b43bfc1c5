"""Turn films of talking faces into motion of the bundled head."""
