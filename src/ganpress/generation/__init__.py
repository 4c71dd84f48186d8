"""What a generator is for: pictures of photos, label maps or noise, as files."""
