from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compliance", "0006_apirate")]

    operations = [
        migrations.AddField(
            model_name="legalhold",
            name="in_doubt",
            field=models.JSONField(
                blank=True, default=dict, help_text="{system: deletions} sent before the hold and never answered."
            ),
        ),
    ]
