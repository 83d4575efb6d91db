"""MediaPipe's face landmarker (Tasks bundle, v2): landmarks, blendshapes, face transform."""
