"""What a certificate is for (a round, or the occasion of an addendum), and when its mail went out."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compliance", "0002_initial")]

    operations = [
        migrations.AddField(
            model_name="certificate",
            name="occasion",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Empty: a round of erasing. Else what an addendum or correction is for.",
                max_length=80,
            ),
        ),
        migrations.AddField(
            model_name="certificate",
            name="delivered_at",
            field=models.DateTimeField(help_text="When the requester's mail went out.", null=True),
        ),
        migrations.AlterField(
            model_name="certificate",
            name="signatures",
            field=models.JSONField(
                help_text="{json, pdf, seal}: armoured detached signatures; {public_key}: the key they verify with."
            ),
        ),
        migrations.RemoveConstraint(model_name="certificate", name="one_certificate_per_round"),
        migrations.AddConstraint(
            model_name="certificate",
            constraint=models.UniqueConstraint(
                fields=("request", "round", "occasion"), name="one_certificate_per_occasion"
            ),
        ),
    ]
