"""The recorder and the reviewer: a local web application that turns looks, or pointer paths, into gaze on images."""
