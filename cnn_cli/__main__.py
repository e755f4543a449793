"""`python -m cnn_cli` is `cnn`."""

from cnn_cli.cli.main import main

if __name__ == "__main__":
    main()
