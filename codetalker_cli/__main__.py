"""``python -m codetalker_cli`` is the ``codetalker`` command."""

from codetalker_cli.cli import main

if __name__ == "__main__":
    main()
