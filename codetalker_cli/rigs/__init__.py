"""The face rig: the bundled head with its ARKit units, speaking styles and idle motion."""
