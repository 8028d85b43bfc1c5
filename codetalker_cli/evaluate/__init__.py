"""What a model makes of a split, in numbers and pictures.

``predict`` runs a checkpoint, ``truth`` and ``pairs`` find what belongs together, ``score``
measures and puts clips together, ``run`` is the command's one call, ``report`` and
``charts`` the page that comes of it.
"""
