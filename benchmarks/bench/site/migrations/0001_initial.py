"""The naive variant's table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Upload",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("image", models.ImageField(upload_to="uploads")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
