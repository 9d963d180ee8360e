"""One picture of an image as bicubic and several networks enlarge it, with zoomed crops."""
