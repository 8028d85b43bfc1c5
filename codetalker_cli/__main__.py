"""Run the ``codetalker`` command with ``python -m codetalker_cli``."""

from codetalker_cli.cli import main

if __name__ == "__main__":
    main()
