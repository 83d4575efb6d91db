"""What people look at: films that browsers play, pictures of lights."""
