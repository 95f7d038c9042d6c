"""The app of a host project: its own tables beside ours."""
