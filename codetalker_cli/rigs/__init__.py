"""Face rigs: the bundled head with its ARKit units, speaking styles, idle motion."""
