"""Every mesh format keeps every vertex in its place, whatever else the file contains."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from command import refuse, run
from custom_raw import CLIPS, FACES, FPS, HEAD, N_VERTICES, motion, settings, write_all
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import codetalker_cli
from codetalker_cli.datasets import face_lookup
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.meshes import SUFFIXES, read_mesh_file, read_vertices, write_mesh_file
