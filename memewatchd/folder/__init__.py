"""What the disk says: which files there are (``scan``), where to look (``watcher``), what to do (``plan``)."""
