"""The command `tether`: a module for each subject, which adds its commands to the parser and runs them."""
