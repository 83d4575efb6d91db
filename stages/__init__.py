"""What is done to one clip: one file a stage, and what the stages share."""
