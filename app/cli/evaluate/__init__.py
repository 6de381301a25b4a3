"""The command `vgg-serve evaluate`: labelled photos in, a JSON report and an exit status out."""
