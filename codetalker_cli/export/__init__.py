"""Write motions for other programs: game engines, 3D editors and browsers.

- ``take`` is what an exporter receives.
- ``table`` describes an exporter.
"""
