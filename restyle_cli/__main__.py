"""`python -m restyle_cli` is `restyle`."""

from restyle_cli.cli.app import main

if __name__ == "__main__":
    main()
