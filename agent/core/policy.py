"""What OCPP variables tell the core: one frozen value, replaced whole when a variable changes."""

from msgspec import Struct

from drivers.contract import Signing


class Policy(Struct, frozen=True):
    """Field names follow the variables; each default is the default of its variable."""

    auth_enabled: bool = True
    """AuthCtrlr.Enabled"""
    auth_cache_enabled: bool = True
    """AuthCacheCtrlr.Enabled"""
    auth_cache_lifetime_s: int = 0
    """AuthCacheCtrlr.LifeTime; 0: entries do not age."""
    local_authorize_offline: bool = True
    """AuthCtrlr.LocalAuthorizeOffline"""
    local_pre_authorize: bool = False
    """AuthCtrlr.LocalPreAuthorize"""
    offline_unknown_id: bool = False
    """AuthCtrlr.OfflineTxForUnknownIdEnabled"""
    disable_post_authorize: bool = False
    """AuthCacheCtrlr.DisablePostAuthorize: what the cache refuses is not asked again."""
    disable_remote_authorization: bool = False
    """AuthCtrlr.DisableRemoteAuthorization: no Authorize at all, only what is known here counts."""
    master_pass_group_id: str = ""
    """AuthCtrlr.MasterPassGroupId; empty: no master pass."""
    reset_retries: int = 3
    """OCPPCommCtrlr.ResetRetries"""
    time_source: str = "NTP,Heartbeat"
    """ClockCtrlr.TimeSource, the preferred one first"""
    authorize_remote_start: bool = False
    """AuthCtrlr.AuthorizeRemoteStart"""
    ev_connection_timeout_s: int = 60
    """TxCtrlr.EVConnectionTimeOut"""
    tx_start_point: frozenset[str] = frozenset({"PowerPathClosed"})
    """TxCtrlr.TxStartPoint"""
    tx_stop_point: frozenset[str] = frozenset({"PowerPathClosed"})
    """TxCtrlr.TxStopPoint"""
    stop_tx_on_invalid_id: bool = True
    """TxCtrlr.StopTxOnInvalidId"""
    stop_tx_on_ev_side_disconnect: bool = True
    """TxCtrlr.StopTxOnEVSideDisconnect"""
    tx_updated_interval_s: int = 60
    """SampledDataCtrlr.TxUpdatedInterval; 0: none."""
    tx_ended_interval_s: int = 0
    """SampledDataCtrlr.TxEndedInterval; 0: none between start and end."""
    sampled_enabled: bool = True
    """SampledDataCtrlr.Enabled"""
    sampled_signed: bool = False
    """SampledDataCtrlr.SignReadings"""
    aligned_signed: bool = False
    """AlignedDataCtrlr.SignReadings"""
    aligned_enabled: bool = True
    """AlignedDataCtrlr.Enabled"""
    aligned_interval_s: int = 0
    """AlignedDataCtrlr.Interval; 0: none."""
    aligned_tx_ended_interval_s: int = 0
    """AlignedDataCtrlr.TxEndedInterval; 0: none."""
    aligned_only_idle: bool = False
    """AlignedDataCtrlr.SendDuringIdle: none while any transaction runs (J01.FR.20)."""
    aligned_only_idle_evses: frozenset[int] = frozenset()
    """The same of single EVSEs: none of them while a transaction runs there (J01.FR.19)."""
    max_energy_on_invalid_id_wh: int = 0
    """TxCtrlr.MaxEnergyOnInvalidId; 0: none."""
    unlock_on_ev_side_disconnect: bool = False
    """OCPPCommCtrlr.UnlockOnEVSideDisconnect"""
    limit_change_significance: float = 1.0
    """SmartChargingCtrlr.LimitChangeSignificance, in percent"""

    @property
    def begin_signing(self) -> Signing:
        """What the begin value is asked for; a start by signed data needs some (E01.FR.04)."""
        is_signed = self.sampled_signed or "DataSigned" in self.tx_start_point
        return Signing.BEGIN if is_signed else Signing.NONE

    @property
    def end_signing(self) -> Signing:
        """What is begun as a signed session is ended as one."""
        return Signing.END if self.begin_signing is Signing.BEGIN else Signing.NONE
