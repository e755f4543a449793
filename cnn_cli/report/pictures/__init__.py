"""PNG files: sheets of pictures by Pillow, plots by matplotlib (the extra `report`)."""
