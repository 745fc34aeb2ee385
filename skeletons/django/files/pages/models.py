from django.db import models


class Note(models.Model):
    """A note, to be written in the admin site."""

    text = models.CharField(max_length=200)
    picture = models.FileField(upload_to="notes/", blank=True)
    written = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-written"]

    def __str__(self):
        return self.text
