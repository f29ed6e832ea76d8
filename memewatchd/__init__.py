"""memewatchd: finds the right meme in a folder, by words, in the seconds a chat gives you.

Newcomers: read ``daemon.py`` first, it tells the story from start to stop.
"""

__version__ = "0.1.0"
