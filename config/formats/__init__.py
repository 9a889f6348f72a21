"""How dates and times are written in the admin: the same in every language (`FORMAT_MODULE_PATH`)."""
