"""PNG files: sheets of images by Pillow, plots by matplotlib (the extra `report`)."""
