"""Images: the bundled set, folders of class folders, uploads."""
