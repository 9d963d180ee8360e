"""A recorded upscaling, run again."""
