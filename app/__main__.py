"""`python -m app` is the command `vgg-serve`."""

from app.cli.commands import main

if __name__ == "__main__":
    main()
