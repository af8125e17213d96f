from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compliance", "0005_guards")]

    operations = [
        migrations.CreateModel(
            name="ApiRate",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("began", models.DateTimeField()),
                ("calls", models.PositiveIntegerField()),
            ],
        ),
    ]
