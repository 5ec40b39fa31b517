"""What a network looks at, before and after."""
